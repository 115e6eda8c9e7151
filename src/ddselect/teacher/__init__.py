"""Teachers: loaded or trained, then checked."""
