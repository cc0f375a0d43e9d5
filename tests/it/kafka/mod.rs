//! The Kafka edge against a real broker.

mod consumer;
mod hostile;
mod producer;
mod rebalance;
mod support;
mod topics;
