"""The laboratory in solved worlds: moments of every target, and of the gradients of an episode, without sampling."""
