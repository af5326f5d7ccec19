"""The stages: files in, files out, one module each. A command is options for one of them; `cycle` chains them."""
