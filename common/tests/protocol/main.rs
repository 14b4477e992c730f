//! The codec of the Kafka protocol against a witness, against random damage, and against lengths that lie.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod allocations;
mod generate;
mod lying_lengths;
mod mutation;
mod subjects;
mod tree;
mod witness;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;
