//! Prometheus metrics of a run: served over HTTP, or written to a file for who cannot scrape a short one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use gapless_common::seam::Spawner;
use gapless_producer::metrics::HISTOGRAM_BUCKETS;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use super::exit::{Stop, complain};
use super::files::replace_file;

/// How often the file is written, and histograms are gathered while nobody scrapes.
const INTERVAL: Duration = Duration::from_secs(10);

/// The installed recorder, if metrics were asked for.
pub struct Metrics {
    exporter: Exporter,
    file: Option<PathBuf>,
}

#[derive(Clone)]
struct Exporter {
    handle: PrometheusHandle,
    process: Collector,
}

impl Exporter {
    fn text(&self) -> String {
        self.process.collect();
        self.handle.run_upkeep();
        self.handle.render()
    }
}

impl Metrics {
    /// Installs the recorder (before the producer is built, which registers its metrics), and serves them. `None` if
    /// metrics go nowhere: then counting costs nothing.
    pub async fn start(
        listen: Option<&str>,
        file: Option<&Path>,
        spawner: &Spawner,
    ) -> Result<Option<Self>, Stop> {
        if listen.is_none() && file.is_none() {
            return Ok(None);
        }
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in HISTOGRAM_BUCKETS {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
                .map_err(|error| Stop::failed(&error))?;
        }
        let handle = builder.install_recorder().map_err(|error| Stop::failed(&error))?;
        let process = Collector::default();
        process.describe();
        let metrics = Self { exporter: Exporter { handle, process }, file: file.map(Path::to_owned) };
        if let Some(address) = listen {
            serve(address, metrics.exporter.clone(), spawner).await?;
        }
        // A file that cannot be written is known before anything is sent.
        metrics.write_file()?;
        let (exporter, file) = (metrics.exporter.clone(), metrics.file.clone());
        spawner.spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let text = exporter.text();
                if let Some(path) = &file
                    && let Err(error) = replace_file(path, &text, false)
                {
                    complain(format!("warning: {} cannot be written: {error}", path.display()));
                }
            }
        });
        Ok(Some(metrics))
    }

    /// The last state, at the end of the run.
    pub fn write_file(&self) -> Result<(), Stop> {
        let Some(path) = &self.file else { return Ok(()) };
        replace_file(path, &self.exporter.text(), false).map_err(|error| {
            Stop::Failed(format!("--metrics-file {} cannot be written: {error}", path.display()))
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a command line's own listener; nothing here is simulated")]
async fn serve(address: &str, exporter: Exporter, spawner: &Spawner) -> Result<(), Stop> {
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
        Stop::Failed(format!("--metrics-listen {address}: {error}; port 0 picks a free one"))
    })?;
    if let Ok(bound) = listener.local_addr()
        && address.ends_with(":0")
    {
        complain(format!("metrics at http://{bound}/metrics"));
    }
    let page = move || {
        let text = exporter.text();
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
    };
    let routes = Router::new().route("/metrics", get(page));
    spawner.spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            complain(format!("warning: metrics are no longer served: {error}"));
        }
    });
    Ok(())
}
