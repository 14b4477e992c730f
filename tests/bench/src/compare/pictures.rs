//! The results as pictures.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::cell::{Broker, Cell, Client};
use super::results::{Question, Report};
use super::workload::{WORKLOADS, Workload};
use crate::failure::{During, Outcome};
use crate::run::Run;
use crate::summary::{Summary, figure};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Name and content of each.
pub fn all(report: &Report) -> Outcome<Vec<(&'static str, String)>> {
    let rates = Bars {
        title: "Million records a second (bars: median; lines: least to most; logarithmic)",
        decades: (-4, 2),
    };
    let cpu = Bars {
        title: "CPU seconds per million records: client (dark) and broker (light), medians",
        decades: (0, 0),
    };
    let rate = |run: &Run| Some(run.records_per_second() / 1e6);
    Ok(vec![
        ("rates.svg", rates.draw(report, &rate, &|_| None)?),
        (
            "cpu.svg",
            cpu.draw(report, &|run| Some(run.client_cpu_per_million()), &Run::broker_cpu_per_million)?,
        ),
        ("latency.svg", latency(report)?),
    ])
}

const WIDTH: u32 = 1000;
/// Left of the bars: names.
const LABELS: i32 = 230;
/// Right of the bars: figures.
const FIGURES: i32 = 170;
const BAR: i32 = 15;
const GAP: i32 = 12;
const TITLE: i32 = 40;

/// The colour of a client, paler at the other broker.
fn colour(cell: Cell) -> RGBAColor {
    let colour = match cell.client {
        Client::Bare => RGBColor(120, 120, 120),
        Client::Ours | Client::Cli => RGBColor(20, 90, 170),
        Client::Librdkafka | Client::Kcat => RGBColor(215, 110, 20),
        Client::Java => RGBColor(160, 40, 60),
    };
    colour.mix(if cell.broker == Broker::Kafka { 0.6 } else { 1.0 })
}

fn text(area: &Area<'_>, what: &str, at: (i32, i32), size: i32, hpos: HPos) -> Outcome<()> {
    let style = ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(hpos, VPos::Center));
    area.draw(&Text::new(what.to_owned(), at, style)).during("drawing")
}

/// Bars side by side, a group for each figure of a workload.
struct Bars {
    title: &'static str,
    /// Powers of ten at both ends of a logarithmic axis; the same twice: from 0 on, each group by its own longest bar.
    decades: (i32, i32),
}

struct Bar {
    cell: Cell,
    value: Summary,
    /// Beside it, in the same unit, one on top of the other.
    second: Option<Summary>,
}

impl Bars {
    fn draw(
        &self,
        report: &Report,
        value: &dyn Fn(&Run) -> Option<f64>,
        second: &dyn Fn(&Run) -> Option<f64>,
    ) -> Outcome<String> {
        let groups: Vec<_> = WORKLOADS
            .iter()
            .flat_map(|workload| workload.variants.iter().map(move |variant| (workload, variant.label)))
            .map(|(workload, label)| (title(workload, label), bars(report, workload, label, value, second)))
            .filter(|(_, bars)| !bars.is_empty())
            .collect();
        let count: usize = groups.iter().map(|(_, bars)| bars.len() + 1).sum();
        let height = TITLE + (count as i32) * BAR + (groups.len() as i32) * GAP + GAP;
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        area.fill(&WHITE).during("drawing")?;
        text(&area, self.title, (GAP, TITLE / 2), 18, HPos::Left)?;
        let mut y = TITLE;
        for (name, bars) in &groups {
            text(&area, name, (GAP, y + BAR / 2), 14, HPos::Left)?;
            y += BAR;
            let most = bars.iter().map(Bar::end).fold(0.0, f64::max);
            for bar in bars {
                self.bar(&area, bar, most, y)?;
                y += BAR;
            }
            y += GAP;
        }
        area.present().during("drawing")?;
        drop(area);
        Ok(svg)
    }

    /// Where a value lies, in pixels.
    fn x(&self, value: f64, most: f64) -> i32 {
        let room = f64::from(WIDTH as i32 - LABELS - FIGURES);
        let share = if self.decades.0 == self.decades.1 {
            value / most
        } else {
            let (from, to) = (f64::from(self.decades.0), f64::from(self.decades.1));
            (value.max(f64::MIN_POSITIVE).log10() - from) / (to - from)
        };
        LABELS + (share.clamp(0.0, 1.0) * room) as i32
    }

    fn bar(&self, area: &Area<'_>, bar: &Bar, most: f64, y: i32) -> Outcome<()> {
        text(area, &bar.cell.name(), (LABELS - 6, y + BAR / 2), 12, HPos::Right)?;
        let colour = colour(bar.cell);
        let (end, second_end) = (self.x(bar.value.median, most), self.x(bar.end(), most));
        let rectangle =
            |from, to, style: ShapeStyle| Rectangle::new([(from, y + 2), (to, y + BAR - 2)], style);
        area.draw(&rectangle(LABELS, end, colour.filled())).during("drawing")?;
        if bar.second.is_some() {
            area.draw(&rectangle(end, second_end, colour.mix(0.4).filled())).during("drawing")?;
        } else {
            let (least, most) = (self.x(bar.value.least, most), self.x(bar.value.most, most));
            let middle = y + BAR / 2;
            area.draw(&PathElement::new([(least, middle), (most, middle)], BLACK)).during("drawing")?;
        }
        let told = match bar.second {
            Some(second) => format!("{} + {}", figure(bar.value.median), figure(second.median)),
            None => bar.value.to_string(),
        };
        let behind = if bar.second.is_some() { second_end } else { end.max(self.x(bar.value.most, most)) };
        text(area, &told, (behind + 6, y + BAR / 2), 12, HPos::Left)
    }
}

impl Bar {
    /// Where it ends with what stands beside it.
    fn end(&self) -> f64 {
        self.value.median + self.second.map_or(0.0, |second| second.median)
    }
}

fn title(workload: &Workload, label: &str) -> String {
    if label.is_empty() { workload.name.to_owned() } else { format!("{} ({label})", workload.name) }
}

fn bars(
    report: &Report,
    workload: &Workload,
    label: &str,
    value: &dyn Fn(&Run) -> Option<f64>,
    second: &dyn Fn(&Run) -> Option<f64>,
) -> Vec<Bar> {
    let mut cells = report.cells_of(workload.name);
    cells.sort_unstable();
    cells
        .into_iter()
        .filter_map(|cell| {
            let question = Question::most(workload.name, cell).variant(label);
            let value = report.summary(question, value)?;
            Some(Bar { cell, value, second: report.summary(question, second) })
        })
        .collect()
}

/// Percent of load, p50 and p99.
type Point = (f64, f64, f64);

/// One comparison of two sides.
struct Pair<'a> {
    workload: &'a str,
    sides: Vec<(Cell, Vec<Point>)>,
}

const CHART_HEIGHT: u32 = 260;

/// p50 and p99 by load, a chart for each pair.
fn latency(report: &Report) -> Outcome<String> {
    let pairs = pairs(report);
    let rows = pairs.len().div_ceil(2).max(1);
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, CHART_HEIGHT * rows as u32 + TITLE as u32))
        .into_drawing_area();
    area.fill(&WHITE).during("drawing")?;
    let title = "Milliseconds from due to acknowledged, by load in percent of the slower side's maximum: p50 thin, p99 thick";
    text(&area, title, (GAP, TITLE / 2), 16, HPos::Left)?;
    let (_, charts) = area.split_vertically(TITLE);
    for (pair, chart) in pairs.iter().zip(charts.split_evenly((rows, 2))) {
        self::chart(pair, &chart)?;
    }
    area.present().during("drawing")?;
    drop((charts, area));
    Ok(svg)
}

fn pairs(report: &Report) -> Vec<Pair<'_>> {
    let having = super::cell::Having { kafka: true, java: true };
    let mut all = Vec::new();
    for workload in &WORKLOADS {
        for pair in super::cell::sides(workload, having) {
            let sides: Vec<_> = pair
                .into_iter()
                .map(|cell| {
                    let at = |load: u32| {
                        let question = Question::most(workload.name, cell).load(load);
                        let p50 = report.median(question, |run| Some(run.latency_ms?.p50))?;
                        let p99 = report.median(question, |run| Some(run.latency_ms?.p99))?;
                        Some((f64::from(load), p50, p99))
                    };
                    (cell, super::latency::LOADS.into_iter().filter_map(at).collect::<Vec<Point>>())
                })
                .collect();
            if sides.iter().all(|(_, points)| !points.is_empty()) {
                all.push(Pair { workload: workload.name, sides });
            }
        }
    }
    all
}

fn chart(pair: &Pair<'_>, area: &Area<'_>) -> Outcome<()> {
    let values =
        pair.sides.iter().flat_map(|(_, points)| points.iter().flat_map(|(_, p50, p99)| [*p50, *p99]));
    let Some(range) = Summary::of(values) else { return Ok(()) };
    let mut chart = ChartBuilder::on(area)
        .caption(pair.workload, ("sans-serif", 14))
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..90.0, (range.least / 2.0..range.most * 4.0).log_scale())
        .during("drawing")?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(10)
        .x_label_formatter(&|load| format!("{load:.0} %"))
        .y_labels(6)
        .y_label_formatter(&|value| figure(*value))
        .draw()
        .during("drawing")?;
    for (cell, points) in &pair.sides {
        let colour = colour(*cell);
        let p50 = points.iter().map(|(load, p50, _)| (*load, *p50));
        let p99 = points.iter().map(|(load, _, p99)| (*load, *p99));
        chart.draw_series(LineSeries::new(p50, colour.stroke_width(1)).point_size(2)).during("drawing")?;
        chart
            .draw_series(LineSeries::new(p99, colour.stroke_width(3)).point_size(3))
            .during("drawing")?
            .label(cell.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(TRANSPARENT)
        .draw()
        .during("drawing")
}

#[cfg(test)]
mod tests {
    use super::super::results::testing::{add, empty, run};
    use super::*;
    use crate::drive::Preset;
    use crate::run::Latency;

    #[test]
    fn pictures_show_what_was_measured_and_are_there_without_anything() {
        let mut report = empty();
        for (name, svg) in all(&report).unwrap() {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{name}");
        }
        for client in [Client::Ours, Client::Librdkafka] {
            let question = Question::most("100B-os", Cell::new(client, Preset::Defaults, Broker::Ours));
            add(&mut report, question, run(2.5, 0.25, 0.125));
            let latency_ms = Some(Latency { p50: 1.0, p99: 7.0, ..Latency::default() });
            add(&mut report, question.load(50), Run { latency_ms, ..run(1.0, 0.25, 0.125) });
        }
        let pictures = all(&report).unwrap();
        for (name, expected) in
            [("rates.svg", "2.50"), ("cpu.svg", "0.25 + 0.12"), ("latency.svg", "100B-os")]
        {
            let (_, svg) = pictures.iter().find(|(picture, _)| *picture == name).unwrap();
            assert!(svg.contains(expected) && svg.contains("ours defaults → gapless"), "{name}: {svg}");
        }
    }
}
