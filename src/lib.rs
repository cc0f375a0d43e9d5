//! The headless worker that owns live conversation sessions. ARCHITECTURE.md has the map.

pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
#[cfg(test)]
mod documents;
pub mod domain;
pub mod http;
pub mod jobs;
pub mod kafka;
pub mod lane;
pub mod planted;
pub mod record;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod wire;
