"""Where bundles are kept: folders, web servers, S3, repositories of Hugging Face, OCI registries."""
