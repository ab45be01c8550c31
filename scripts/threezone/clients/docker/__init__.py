"""The docker client: containers, images, networks, volumes, and the engine that it asks."""
