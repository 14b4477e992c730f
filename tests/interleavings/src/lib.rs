//! Every interleaving of a few threads, by `loom`. The tests compile the code itself, by its path, against `loom`'s primitives
//! instead of the standard library's; they are a package of their own so that nothing else waits for that.

/// Runs `test` once for every interleaving with at most so many switches that no thread asked for: bugs of this kind need one or
/// two.
pub fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}
