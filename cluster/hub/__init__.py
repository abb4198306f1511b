"""Repositories of the Hugging Face Hub, read through huggingface_hub."""
