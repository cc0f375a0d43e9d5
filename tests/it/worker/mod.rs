//! The worker from outside: the real binary as processes, driven through Kafka, judged by what other
//! teams can see (topics, `/readyz`, exit codes, `audit`).

mod acceptance;
mod callers;
pub(crate) mod client;
mod dead_letters;
mod deadlines;
pub(crate) mod deployment;
mod load;
mod openapi;
mod outages;
mod probe;
mod signals;
mod start;
mod stops;
mod views;
