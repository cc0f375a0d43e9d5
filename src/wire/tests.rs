//! The wire against the contract's section 1: golden bytes, evolution, hostile bytes, a failing registry.

mod dead_letter;
mod evolution;
mod golden;
mod header;
mod hostile;
mod json;
mod pages;
mod registry;
mod schema;
mod support;
