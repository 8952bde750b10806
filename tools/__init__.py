"""What `make` calls: the installation, the site on a developer's machine, and the checks."""
