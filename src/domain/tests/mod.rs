//! The contract's section 2 as tests: given a script of what happened, when one more line is told, then
//! its answer, events and places read as below each test. One test a sentence, named after its AC.

mod admission;
mod backfill;
mod end;
mod fold;
mod invariants;
mod join;
mod leave;
mod limits;
mod presence;
mod private_session;
mod properties;
mod public_match;
mod script;
mod speaking;
mod start;
mod statistics;
mod table;
mod told;
mod well_formed;
mod world;
