//! The Kafka edge against a real broker.

mod consumer;
mod producer;
mod rebalance;
mod support;
mod topics;
