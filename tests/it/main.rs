//! Tests against the real parts.
#![expect(
    clippy::disallowed_methods,
    reason = "tests play the outside world: its ids and its clock are their own"
)]

mod cli;
mod kafka;
mod protected;
mod registry;
mod services;
mod store;
mod worker;
