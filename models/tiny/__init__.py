"""The embedded study: rendered videos, questions about them, a word tokenizer, small pre-trained parts."""
