//! The Kafka edge against a real broker.

mod codecs;
mod consumer;
mod damage;
mod ends;
mod hostile;
mod outages;
mod producer;
mod rebalance;
mod refusals;
mod scan;
mod support;
mod topics;
