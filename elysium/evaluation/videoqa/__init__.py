"""VideoQA: question sets, judge-free figures, and the judge of Video-ChatGPT's protocol (PROTOCOL §5, §7)."""
