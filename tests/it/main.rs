//! Tests against the real parts.

mod cli;
mod kafka;
mod services;
mod store;
mod worker;
