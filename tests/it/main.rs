//! Tests against the real parts.

mod kafka;
mod services;
mod store;
