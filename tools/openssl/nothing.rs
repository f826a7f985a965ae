// Cargo wants a target; nothing is built by it.
