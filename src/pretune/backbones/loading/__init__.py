"""From a folder or a name to what is in it: files, limits, processors, fresh backbones."""
