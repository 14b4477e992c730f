//! Numbered records sent while something happens to the broker, each time at a share of what was acknowledged.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use gapless_producer::{Delivery, Producer};

use crate::{
    broker::Broker, cli, exposition::Exposition, http, librdkafka, oracle::value_of, ports::free_port,
    wait::wait_until,
};

/// Partitions over which records are spread.
pub const PARTITIONS: i32 = 3;

/// Lets a sender run ahead only so far, so that there is always something left to send when the broker dies.
#[derive(Default)]
pub struct Gate {
    open_to: Mutex<u64>,
    changed: Condvar,
}

impl Gate {
    /// Waits until the record of this number may be sent.
    pub fn pass(&self, number: u64) {
        let open_to = self.open_to.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(open_to, |open_to| number >= *open_to));
    }

    fn is_open(&self, number: u64) -> bool {
        number < *self.open_to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, to: u64) {
        *self.open_to.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.changed.notify_all();
    }
}

/// Opens the gate for good, even when a check fails, so that the sender's thread ends too.
struct OpenAtLast<'a>(&'a Gate);

impl Drop for OpenAtLast<'_> {
    fn drop(&mut self) {
        self.0.open(u64::MAX);
    }
}

/// What a sender is given.
pub struct Run<'a> {
    /// The broker's address.
    pub address: &'a str,
    /// Where to send: a topic of [`PARTITIONS`] partitions.
    pub topic: &'a str,
    /// Send the records 0 to this, exclusive, each with [`value_of`] its number.
    pub records: u64,
    /// To be passed before each record.
    pub gate: &'a Gate,
    /// To be kept up to date.
    pub acked: &'a AtomicU64,
}

/// What a sender was told of each record: the offset if it was acknowledged, −1 where the sender does not say at which.
pub type Told = Vec<Option<i64>>;

/// What happens to the broker: it is given the number of the time, and what lets the senders send on while it happens.
pub type Disturbance<'a> = dyn FnMut(&mut Broker, u64, &dyn Fn()) + 'a;

/// A way to send.
pub type Sender = fn(&Run<'_>) -> Told;

/// Several senders at once, each with a topic of its own and `records` records, while `disturb` is called `times` times, at
/// equal shares of the records that all of them together had acknowledged. Unless it lets them send on, they stop half a share
/// later. Gives what each sender was told.
///
/// # Panics
/// If acknowledgements stop coming.
pub fn through(
    broker: &mut Broker,
    topics: &[&str],
    records: u64,
    times: u64,
    senders: &[Sender],
    disturb: &mut Disturbance<'_>,
) -> Vec<Told> {
    let address = broker.address().to_owned();
    let under_way: Vec<_> = (topics.iter().zip(senders))
        .map(|(topic, sender)| (*topic, *sender, Gate::default(), AtomicU64::new(0)))
        .collect();
    for topic in topics {
        librdkafka::create_topic(&address, topic, PARTITIONS, &[]);
    }
    thread::scope(|scope| {
        let (mut running, mut open) = (Vec::new(), Vec::new());
        for (topic, sender, gate, acked) in &under_way {
            let run = Run { address: &address, topic, records, gate, acked };
            running.push(scope.spawn(move || sender(&run)));
            open.push(OpenAtLast(gate));
        }
        let all = records * under_way.len() as u64;
        let share = records / (times + 1);
        for time in 1..=times {
            let open_to = |number| under_way.iter().for_each(|(.., gate, _)| gate.open(number));
            open_to(share * time + share / 2);
            let wanted = all / (times + 1) * time;
            wait_until(&format!("{wanted} acknowledged records"), || {
                assert!(!running.iter().any(|sender| sender.is_finished()), "a sender ended before its time");
                under_way.iter().map(|(.., acked)| acked.load(Ordering::Relaxed)).sum::<u64>() >= wanted
            });
            disturb(broker, time, &|| open_to(share * (time + 1)));
        }
        drop(open);
        running
            .into_iter()
            .map(|sender| sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Sends by librdkafka's idempotent producer.
///
/// # Panics
/// If librdkafka refuses a record.
pub fn by_librdkafka(run: &Run<'_>) -> Told {
    let properties = [
        ("enable.idempotence", "true"),
        ("linger.ms", "5"),
        ("queue.buffering.max.messages", "100000"),
        ("batch.num.messages", "1000"),
        ("retry.backoff.ms", "10"),
        ("retry.backoff.max.ms", "200"),
        ("message.timeout.ms", "600000"),
    ];
    let sender = librdkafka::Sender::new(run.address, &properties);
    let deliveries = sender.deliveries();
    for number in 0..run.records {
        // Acknowledgements are counted while the gate is shut, too.
        while !run.gate.is_open(number) {
            run.acked.store(deliveries.acked(), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
        let record = librdkafka::Record {
            partition: (number % PARTITIONS as u64) as i32,
            value: Some(value_of(number)),
            ..librdkafka::Record::default()
        };
        sender.send(run.topic, number, &record);
        run.acked.store(deliveries.acked(), Ordering::Relaxed);
    }
    let mut told = vec![None; run.records as usize];
    for delivered in sender.finish() {
        told[delivered.number as usize] = delivered.outcome.ok();
    }
    told
}

/// What our library runs on in a test.
///
/// # Panics
/// If no thread can be started.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

/// Sends by our library.
///
/// # Panics
/// If it cannot be started or takes no record.
pub fn by_library(run: &Run<'_>) -> Told {
    runtime().block_on(async {
        let producer =
            Producer::builder().bootstrap_servers(run.address).build().await.expect("the broker is there");
        // Room for all that may be under way: waiting for results never holds up sending.
        let (outgoing, mut under_way) = tokio::sync::mpsc::unbounded_channel::<Delivery>();
        let counted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&counted);
        let results = tokio::spawn(async move {
            let mut told = Vec::new();
            while let Some(delivery) = under_way.recv().await {
                let result = delivery.await;
                counter.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
                told.push(result.ok().map(|acked| acked.offset.map_or(-1, |offset| offset.0)));
            }
            told
        });
        for number in 0..run.records {
            while !run.gate.is_open(number) {
                run.acked.store(counted.load(Ordering::Relaxed), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            run.acked.store(counted.load(Ordering::Relaxed), Ordering::Relaxed);
            let record = gapless_producer::Record::new(run.topic)
                .partition((number % PARTITIONS as u64) as i32)
                .value(value_of(number));
            let delivery = producer.send(record).await.expect("the producer takes the record");
            outgoing.send(delivery).expect("results are awaited");
        }
        drop(outgoing);
        let told = results.await.expect("results can be awaited");
        producer.close(Duration::from_secs(30)).await.expect("everything has its fate");
        told
    })
}

/// Sends by our command line, fed through a pipe, which must end well; the count comes from its own metrics.
///
/// # Panics
/// If it does not exit 0.
pub fn by_command_line(run: &Run<'_>) -> Told {
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut process = cli::start([
        "publish",
        "--bootstrap-server",
        run.address,
        "--topic",
        run.topic,
        "--key-delimiter",
        "\t",
        "--delivery-timeout",
        "10m",
        "--metrics-listen",
        &metrics,
        "--output",
        "json",
        "-",
    ]);
    let mut stdin = process.take_stdin().expect("standard input is piped");
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            use std::io::Write;
            let mut out = std::io::BufWriter::new(&mut stdin);
            for number in 0..run.records {
                if !run.gate.is_open(number) {
                    out.flush()?;
                    run.gate.pass(number);
                }
                write!(out, "key-{}\t", number % 97)?;
                out.write_all(&value_of(number))?;
                out.write_all(b"\n")?;
            }
            out.flush()
        });
        while !writer.is_finished() && !process.has_ended() {
            let scraped =
                http::get(&metrics, "/metrics").ok().and_then(|answer| Exposition::parse(&answer.body).ok());
            if let Some(scraped) = scraped {
                let acked = scraped.sum("gapless_producer_records_acked_total", &[]);
                run.acked.store(acked as u64, Ordering::Relaxed);
            }
        }
        let ended = process.end();
        assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
        writer.join().expect("the writer ran to its end").expect("the command line read everything");
        let summary = cli::summary(&ended);
        assert_eq!(summary["records"], run.records, "{summary}");
    });
    vec![Some(-1); run.records as usize]
}
