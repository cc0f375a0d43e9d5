//! The Kafka edge against a real broker.

mod consumer;
mod hostile;
mod producer;
mod rebalance;
mod scan;
mod support;
mod topics;
