//! Node-API addon.
