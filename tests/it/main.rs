//! Tests against the real parts.

mod kafka;
