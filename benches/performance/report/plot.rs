//! The plot: each step in times of the engine's floor of the same round.

use std::path::Path;

use plotters::prelude::*;

use super::table::ratios;
use crate::{
    modes::{FLOOR, MODES, TRAIN_LIB, ours},
    options::Part,
    record::{Case, Record},
    statistics::{median, spread},
    steps::{CARRIED, POST, PRE, WHOLE},
};

const SIZE: (u32, u32) = (1000, 900);
const COLOURS: [RGBColor; 4] = [RGBColor(120, 120, 120), RGBColor(0, 114, 178), RGBColor(0, 158, 115), RGBColor(213, 94, 0)];
/// Panels: a name, and the steps that are added up. Ways that keep nothing have no cost there.
const PANELS: [(&str, &[&str]); 3] =
    [("pre-run", &[PRE]), ("post-run", &[POST]), ("pre-run, keeping the run's outcome (carry), post-run", &[PRE, CARRIED, POST])];

/// Draws it; answers whether there was anything to draw.
pub fn draw(record: &Record, file: &Path) -> bool {
    let Some(cases) = record.cases.get(&Part::Trains).filter(|cases| !cases.is_empty()) else { return false };
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    panels(cases, &area).and_then(|()| area.present()).expect("docs/performance.svg");
    true
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn panels(cases: &[Case], area: &Area) -> Drawn {
    area.fill(&WHITE)?;
    for (panel, (name, steps)) in area.split_evenly((PANELS.len(), 1)).iter().zip(PANELS) {
        bars(cases, name, steps, panel)?;
    }
    Ok(())
}

fn bars(cases: &[Case], name: &str, steps: &[&str], area: &Area) -> Drawn {
    let whos: Vec<String> = std::iter::once(TRAIN_LIB.to_owned()).chain(MODES.iter().map(ours)).collect();
    let of_floor = |case: &Case, who: &str| ratios(&case.walls(who, steps), &case.walls(FLOOR, &[WHOLE]));
    let highest = cases.iter().flat_map(|case| whos.iter().map(|who| spread(&of_floor(case, who)).1)).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{name}: times the engine's floor"), ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(40)
        .build_cartesian_2d(0.0..cases.len() as f64, 0.0..highest * 1.1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_labels(0)
        .y_labels(6)
        .label_style(("sans-serif", 14))
        .draw()?;
    chart.draw_series(LineSeries::new([(0.0, 1.0), (cases.len() as f64, 1.0)], BLACK.stroke_width(1)))?;
    let width = 0.8 / whos.len() as f64;
    for (turn, (who, colour)) in whos.iter().zip(COLOURS).enumerate() {
        let left = |index: usize| index as f64 + 0.1 + width * turn as f64;
        let values: Vec<Vec<f64>> = cases.iter().map(|case| of_floor(case, who)).collect();
        let rectangles = values.iter().enumerate().map(|(index, values)| {
            Rectangle::new([(left(index), 0.0), (left(index) + width * 0.92, median(values).max(0.0))], colour.filled())
        });
        chart
            .draw_series(rectangles)?
            .label(who.as_str())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
        chart.draw_series(values.iter().enumerate().map(|(index, values)| {
            let (least, most) = spread(values);
            PathElement::new([(left(index) + width * 0.46, least), (left(index) + width * 0.46, most)], BLACK)
        }))?;
    }
    for (index, case) in cases.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(index as f64 + 0.5, 0.0));
        let style = TextStyle::from(("sans-serif", 14).into_font()).pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Top,
        ));
        let (left, top) = area.get_base_pixel();
        area.draw(&Text::new(case.name.clone(), (x - left, y + 6 - top), style))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 14))
        .border_style(BLACK.mix(0.2))
        .background_style(WHITE)
        .draw()
}
