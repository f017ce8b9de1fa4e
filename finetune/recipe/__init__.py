"""What a user may write. Needs pydantic and yaml (omegaconf only for overrides and interpolation); knows no library
that trains."""
