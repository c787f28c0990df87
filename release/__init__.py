"""What is published of a commit: wheel, sdist, SBOM and their digests, by ``make release``."""
