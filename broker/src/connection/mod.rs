//! One client's connection: requests are read, handled and answered in order, and one that waits for a flush or for
//! data does not keep the next from being read.
//!
//! - [`frames`]: frames out of the byte stream, paid for from the memory of requests
//!   ([`crate::request_memory`]).
//! - this file: the receiving half. It hands each request to [`crate::api`], which appends and reads; what must wait
//!   becomes part of the answer.
//! - [`writer`]: the sending half, a task of its own; [`send_file`]: what the kernel sends for it.

mod frames;
mod send_file;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use gapless_common::{
    protocol::{self, ApiKey, Decoder},
    seam::Connection,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use self::{
    frames::{FrameEnd, FrameReader},
    writer::{Answer, InFlight, write_answers},
};
use crate::{
    api,
    request_memory::{BudgetAccount, Charge},
    shared::{Endpoint, Shared},
};

/// Requests of one connection that are read and not yet answered; beyond it reading pauses. Kafka's clients keep five
/// in flight, librdkafka without idempotence many more.
const PIPELINE_MAX: usize = 128;

/// Bytes of answers in memory that one connection may have waiting to be written; beyond it reading pauses. One that is
/// larger goes alone.
const ANSWERS_BYTES_MAX: u32 = 1 << 20;

/// Why a connection ended.
enum End {
    /// The stream told: nothing can be or need be answered any more when it was the peer's doing.
    Frames(FrameEnd),
    /// Bytes that are no request.
    NotARequest(String),
    /// Memory was needed for others.
    Evicted,
    /// The sending half ended first and has said why.
    WriterGone,
    /// The broker stops.
    Stopping,
}

/// Serves one connection to its end.
pub async fn serve(broker: Arc<Shared>, endpoint: Arc<Endpoint>, connection: Connection) {
    let peer = connection.peer;
    let account = broker.budget.open();
    let frames = FrameReader::new(
        connection.reader,
        broker.config.max_request_bytes,
        broker.config.idle_timeout,
        broker.config.frame_timeout,
    );
    let (answers, queue) = mpsc::channel(PIPELINE_MAX);
    let mut writer = {
        let broker = Arc::clone(&broker);
        let stall_timeout = broker.config.frame_timeout;
        let work = Arc::clone(&broker);
        work.seams.spawner.clone().spawn(async move {
            if let Err(end) = write_answers(queue, connection.writer, stall_timeout, &broker.metrics).await {
                broker.say_of_stranger(|| format!("connection of {peer} closed: {end}"));
            }
        })
    };
    let end = receive(&broker, &endpoint, &account, frames, &answers).await;
    drop(answers);
    let answers_matter = match &end {
        End::Frames(FrameEnd::Closed | FrameEnd::Io(_)) => false,
        End::Frames(FrameEnd::Idle { .. }) | End::Stopping => true,
        End::Frames(_) | End::NotARequest(_) | End::Evicted => {
            broker.say_of_stranger(|| format!("connection of {peer} closed: {end}"));
            !matches!(end, End::Evicted)
        }
        End::WriterGone => false,
    };
    let mut stage = broker.stage();
    if answers_matter {
        // Bounded: each write within the frame timeout, each wait by its own request, all by the stop's limit.
        tokio::select! {
            biased;
            () = writer.ended() => return,
            () = stage.aborted() => {}
        }
    }
    writer.abort();
}

async fn receive(
    broker: &Arc<Shared>,
    endpoint: &Arc<Endpoint>,
    account: &BudgetAccount,
    mut frames: FrameReader,
    answers: &mpsc::Sender<Answer>,
) -> End {
    let mut stage = broker.stage();
    let answers_room = Arc::new(Semaphore::new(ANSWERS_BYTES_MAX as usize));
    loop {
        // Room for the answer comes first: a request is not even read, and takes no memory, while its answer would have no
        // place.
        let place = tokio::select! {
            biased;
            () = stage.stopping() => return End::Stopping,
            place = answers.reserve() => match place {
                Ok(place) => place,
                Err(_) => return End::WriterGone,
            },
        };
        let frame = tokio::select! {
            biased;
            () = stage.stopping() => return End::Stopping,
            () = account.evicted() => return End::Evicted,
            () = answers.closed() => return End::WriterGone,
            frame = frames.next(account) => match frame {
                Ok(frame) => frame,
                Err(end) => return End::Frames(end),
            },
        };
        let received = Instant::now();
        // On the heap, since it is large and most connections are idle most of the time.
        let mut answer = match Box::pin(handle(broker, endpoint, frame, account.take(), received)).await {
            Ok(answer) => answer,
            Err(why) => return End::NotARequest(why),
        };
        let room = u32::try_from(answer.reply.bytes_in_memory()).unwrap_or(u32::MAX).min(ANSWERS_BYTES_MAX);
        answer.room = tokio::select! {
            biased;
            room = Arc::clone(&answers_room).acquire_many_owned(room) => room.ok(),
            () = answers.closed() => return End::WriterGone,
            () = stage.aborted() => return End::Stopping,
        };
        place.send(answer);
        if stage.is_stopping() {
            return End::Stopping;
        }
    }
}

async fn handle(
    broker: &Arc<Shared>,
    endpoint: &Arc<Endpoint>,
    frame: Bytes,
    charge: Charge,
    received: Instant,
) -> Result<Answer, String> {
    let mut body = Decoder::new(frame);
    let header = protocol::decode_request_header(&mut body).map_err(|error| error.to_string())?;
    let Some(key) = ApiKey::from_i16(header.api_key) else {
        return Err(format!("unknown API key {} (version {})", header.api_key, header.api_version));
    };
    let request = api::Incoming {
        broker: Arc::clone(broker),
        endpoint: Arc::clone(endpoint),
        api: key,
        version: header.api_version,
        correlation_id: header.correlation_id,
        received,
        charge,
    };
    let in_flight = InFlight::enter(&broker.metrics.requests_in_flight);
    let reply = api::dispatch(request, body).await.map_err(|error| error.to_string())?;
    Ok(Answer { api: key, received, reply, in_flight, room: None })
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frames(end) => end.fmt(f),
            Self::NotARequest(why) => f.write_str(why),
            Self::Evicted => {
                f.write_str("it was the slowest sender while request memory (--max-inflight-bytes) was full")
            }
            Self::WriterGone => f.write_str("its sending half ended"),
            Self::Stopping => f.write_str("the broker stops"),
        }
    }
}
