//! Checks the checksum, appends to a file, answers.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use clap::Args;

use super::encode::is_whole;
use super::{ANSWER_SIZE, BATCH_MAX, HEAD_SIZE};
use crate::failure::{During, Failure, Outcome};
use crate::run::tell;

/// The receiving half of the bare pair: prints its address, and serves until standard input ends.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Directory for its file, which is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// fdatasync before each answer
    #[arg(long)]
    fsync: bool,
}

impl ServerArgs {
    pub fn run(self) -> Outcome<()> {
        let listener = TcpListener::bind("127.0.0.1:0").during("listening")?;
        tell(&listener.local_addr().during("listening")?)?;
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        for stream in listener.incoming() {
            let mut file = tempfile::tempfile_in(&self.dir).during(self.dir.display())?;
            serve(&stream.during("accepting")?, &mut file, self.fsync)?;
        }
        Ok(())
    }
}

/// One connection to its end.
fn serve(mut stream: &TcpStream, file: &mut File, fsync: bool) -> Outcome<()> {
    stream.set_nodelay(true).during("TCP_NODELAY")?;
    let mut batch = vec![0; BATCH_MAX];
    let mut head = [0; HEAD_SIZE];
    while stream.read_exact(&mut head).is_ok() {
        let (length, number) = head.split_at(HEAD_SIZE - ANSWER_SIZE);
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let batch = batch.get_mut(..length).ok_or_else(|| Failure(format!("a batch of {length} bytes")))?;
        stream.read_exact(batch).during("reading a batch")?;
        if !is_whole(batch) {
            return Err(Failure("a batch with a wrong checksum".to_owned()));
        }
        file.write_all(batch).during("appending")?;
        if fsync {
            file.sync_data().during("fdatasync")?;
        }
        stream.write_all(number).during("answering")?;
    }
    Ok(())
}
