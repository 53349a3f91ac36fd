"""MLflow: what training logs, which model versions there are, and which of them is champion."""
