//! The search: states, what may be done with one, and the walk through all of them.
//!
//! A [`state`] is an expression with the part of it that is worked on; its canonical form stands for all
//! that differ in names and orders; [`moves`] lists where rules apply; [`walk`] goes through them.

mod canonical;
pub mod moves;
pub mod state;
pub mod walk;
