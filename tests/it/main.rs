//! Tests against the real parts.

mod services;
mod store;
