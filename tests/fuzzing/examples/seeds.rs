//! Writes the seed corpora of the fuzz targets: `cargo run -p gapless-fuzzing --example seeds -- fuzz/corpus`.

use std::{env, fs, path::Path};

use gapless_fuzzing::seeds;

fn main() -> std::io::Result<()> {
    let folder = env::args().nth(1).unwrap_or_else(|| "fuzz/corpus".to_owned());
    for target in seeds::TARGETS {
        let here = Path::new(&folder).join(target);
        fs::create_dir_all(&here)?;
        for (number, bytes) in seeds::of(target, 4, &mut fastrand::Rng::with_seed(1)).iter().enumerate() {
            fs::write(here.join(format!("seed-{number:04}")), bytes)?;
        }
    }
    Ok(())
}
