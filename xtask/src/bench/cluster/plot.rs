//! A picture of what was measured: one panel for each figure, one line for each number of hubs.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use plotters::style::FontTransform;
use serde_json::Value;

/// Pixels of the whole picture.
const SIZE: (u32, u32) = (1080, 340);

/// One figure of a run.
struct Panel {
    title: &'static str,
    /// Its name among a run's figures.
    figure: &'static str,
}

const PANELS: [Panel; 3] = [
    Panel { title: "until all nodes stream, s", figure: "streaming_seconds" },
    Panel { title: "memory of the largest hub, MiB", figure: "hub_peak_mib" },
    Panel { title: "all hubs, cores", figure: "hub_cores" },
];

/// Numbers of hubs, and the colours of their lines.
const HUBS: [(u64, RGBColor); 3] =
    [(1, RGBColor(0, 114, 178)), (3, RGBColor(213, 94, 0)), (10, RGBColor(0, 158, 115))];

/// Draws runs that stored; fails when the file cannot be written.
pub(super) fn draw(measured: &[Value], file: &Path) -> Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    for (panel, area) in PANELS.iter().zip(area.split_evenly((1, PANELS.len()))) {
        draw_panel(panel, measured, &area).map_err(|error| anyhow!("{error}"))?;
    }
    area.present().map_err(|error| anyhow!("{error}"))
}

fn draw_panel(
    panel: &Panel,
    measured: &[Value],
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<()> {
    let lines: Vec<_> =
        HUBS.iter().map(|(hubs, colour)| (*hubs, *colour, points(panel.figure, *hubs, measured))).collect();
    let all = || lines.iter().flat_map(|(.., points)| points.iter());
    let nodes = all().map(|(nodes, _)| *nodes);
    let (least, most) = (nodes.clone().fold(f64::MAX, f64::min), nodes.fold(1.0, f64::max));
    let highest = all().map(|(_, value)| *value).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .caption(panel.title, ("sans-serif", 16))
        .x_label_area_size(34)
        .y_label_area_size(46)
        .build_cartesian_2d((least.min(most)..most * 1.2).log_scale(), 0.0..highest * 1.15)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .label_style(("sans-serif", 12).into_font().transform(FontTransform::None))
        .x_desc("nodes")
        .x_label_formatter(&|nodes| format!("{nodes}"))
        .draw()?;
    for (hubs, colour, points) in lines.into_iter().filter(|(.., points)| !points.is_empty()) {
        let dots = points.clone().into_iter().map(|point| Circle::new(point, 3, colour.filled()));
        chart.draw_series(dots)?;
        let name = if hubs == 1 { "1 hub".to_owned() } else { format!("{hubs} hubs") };
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 12))
        .background_style(WHITE)
        .draw()
        .context("the legend")
}

/// Nodes and the figure, of runs that stored and replaced no pods.
fn points(figure: &str, hubs: u64, measured: &[Value]) -> Vec<(f64, f64)> {
    let of = |run: &Value, name: &str| run.get(name).and_then(Value::as_f64);
    let chosen = measured.iter().filter(|run| {
        run.get("stored") == Some(&Value::Bool(true))
            && run.get("hubs") == Some(&Value::from(hubs))
            && run.get("churn") == Some(&Value::from(0))
    });
    chosen.filter_map(|run| Some((of(run, "nodes")?, of(run, figure)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_number_of_hubs_has_its_line() {
        let run = |nodes: u32, hubs: u32, churn: u32, stored: bool| {
            json!({"nodes": nodes, "hubs": hubs, "churn": churn, "stored": stored,
                "streaming_seconds": 1.5, "hub_peak_mib": 40.0, "hub_cores": 0.25})
        };
        let measured = [
            run(10, 1, 0, true),
            run(5000, 1, 0, true),
            run(5000, 3, 0, true),
            run(5000, 10, 50, true),
            run(100, 10, 0, false),
        ];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sizes.svg");
        draw(&measured, &file).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        assert_eq!(svg.matches("\n1 hub\n").count(), PANELS.len());
        assert_eq!(svg.matches("\n3 hubs\n").count(), PANELS.len());
        assert!(!svg.contains("10 hubs"), "neither churn nor runs without a store are drawn");
        assert_eq!(svg.matches("<circle").count(), 3 * PANELS.len());
    }
}
