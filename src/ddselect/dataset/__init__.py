"""Images: class folders, index, the embedded scenes."""
