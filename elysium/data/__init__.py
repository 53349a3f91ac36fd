"""Records, samples, the simulator, decoding and storage: everything between a video file and a training sample."""
