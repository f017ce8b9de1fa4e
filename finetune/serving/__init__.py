"""What a run trained, answering over HTTP as OpenAI's chat API does."""
