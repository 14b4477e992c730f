use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use gapless_common::seam::RealSpawn;
use tokio::sync::Semaphore;

use super::*;

/// A disk on which flushes happen when the test lets them, and are counted.
#[derive(Default)]
struct Disk {
    flushes: AtomicUsize,
    syncs: AtomicUsize,
    flush_fails: AtomicBool,
    sync_fails: AtomicBool,
    sync_go: Option<Semaphore>,
}

struct OneFile(Arc<Disk>);

impl File for OneFile {
    fn write_at<'a>(&'a self, _: u64, _: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn read_at(&self, _: u64, _: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            self.0.flushes.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            let fails = self.0.flush_fails.load(Ordering::SeqCst);
            if fails { Err(io::Error::other("broken")) } else { Ok(()) }
        })
    }

    fn truncate(&self, _: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async { Ok(0) })
    }
}

struct Syncs(Arc<Disk>);

impl WholeSync for Syncs {
    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let disk = self.0.clone();
        Box::pin(async move {
            disk.syncs.fetch_add(1, Ordering::SeqCst);
            if let Some(go) = &disk.sync_go {
                go.acquire().await.unwrap().forget();
            }
            let fails = disk.sync_fails.load(Ordering::SeqCst);
            if fails { Err(io::Error::other("broken")) } else { Ok(()) }
        })
    }
}

fn flush_on(disk: &Arc<Disk>) -> DiskFlush {
    let books = Mutex::new(Books { waiting: VecDeque::new(), single: 0, whole: Whole::Idle });
    let whole: Arc<dyn WholeSync> = Arc::new(Syncs(disk.clone()));
    DiskFlush(Arc::new(Inner { spawner: Spawner::new(RealSpawn), whole: Some(whole), books }))
}

/// So many jobs, and how many of them went well and how many did not.
fn jobs(disk: &Arc<Disk>, count: usize) -> (Vec<FlushJob>, Arc<[AtomicUsize; 2]>) {
    let told: Arc<[AtomicUsize; 2]> = Arc::default();
    let job = |_| {
        let told = told.clone();
        let done = Box::new(move |result: io::Result<()>| {
            told[usize::from(result.is_err())].fetch_add(1, Ordering::SeqCst);
        });
        FlushJob { file: Arc::new(OneFile(disk.clone())) as Arc<dyn File>, done }
    };
    ((0..count).map(job).collect(), told)
}

fn count(number: &AtomicUsize) -> usize {
    number.load(Ordering::SeqCst)
}

fn outcome(told: &[AtomicUsize; 2]) -> (usize, usize) {
    (count(&told[0]), count(&told[1]))
}

#[tokio::test(start_paused = true)]
async fn a_large_group_costs_one_sync_and_a_small_one_a_flush_for_each_file() {
    let disk = Arc::new(Disk::default());
    let flush = flush_on(&disk);
    let (group, told) = jobs(&disk, PARALLEL_FLUSHES_MAX);
    flush.flush_group(group).await;
    assert_eq!((outcome(&told), count(&disk.flushes), count(&disk.syncs)), ((8, 0), 8, 0));
    let (group, told) = jobs(&disk, 1000);
    flush.flush_group(group).await;
    assert_eq!((outcome(&told), count(&disk.flushes), count(&disk.syncs)), ((1000, 0), 8, 1));
}

#[tokio::test(start_paused = true)]
async fn what_arrives_during_a_sync_forms_the_next_group() {
    let disk = Arc::new(Disk { sync_go: Some(Semaphore::new(0)), ..Disk::default() });
    let flush = flush_on(&disk);
    let (group, first) = jobs(&disk, 100);
    let first_group = flush.flush_group(group);
    let mut later = Vec::new();
    for _ in 0..50 {
        let (group, told) = jobs(&disk, 1);
        later.push((flush.flush_group(group), told));
    }
    disk.sync_go.as_ref().unwrap().add_permits(2);
    first_group.await;
    assert_eq!(outcome(&first), (100, 0));
    for (group, told) in later {
        group.await;
        assert_eq!(outcome(&told), (1, 0));
    }
    assert_eq!((count(&disk.flushes), count(&disk.syncs)), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_takes_too_long_holds_nobody_up() {
    let disk = Arc::new(Disk { sync_go: Some(Semaphore::new(0)), ..Disk::default() });
    let flush = flush_on(&disk);
    let (group, told) = jobs(&disk, 100);
    flush.flush_group(group).await;
    assert_eq!((outcome(&told), count(&disk.flushes), count(&disk.syncs)), ((100, 0), 100, 1));
    // While it goes on there is no second one.
    let (group, told) = jobs(&disk, 100);
    flush.flush_group(group).await;
    assert_eq!((outcome(&told), count(&disk.flushes), count(&disk.syncs)), ((100, 0), 200, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_never_believed_and_never_tried_again() {
    let disk = Arc::new(Disk::default());
    disk.sync_fails.store(true, Ordering::SeqCst);
    disk.flush_fails.store(true, Ordering::SeqCst);
    let flush = flush_on(&disk);
    let (group, told) = jobs(&disk, 20);
    flush.flush_group(group).await;
    assert_eq!(outcome(&told), (0, 20), "each file told its own failure");
    disk.sync_fails.store(false, Ordering::SeqCst);
    disk.flush_fails.store(false, Ordering::SeqCst);
    let (group, told) = jobs(&disk, 20);
    flush.flush_group(group).await;
    assert_eq!((outcome(&told), count(&disk.flushes), count(&disk.syncs)), ((20, 0), 40, 1));
}
