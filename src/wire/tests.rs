//! The wire against the contract's section 1: golden bytes, evolution, hostile bytes, a failing registry.

mod dead_letter;
mod equality;
mod evolution;
mod glance;
mod golden;
mod header;
mod hostile;
mod json;
mod letter;
mod lookups;
mod pages;
mod registry;
mod schema;
mod sent;
mod stub;
mod support;
