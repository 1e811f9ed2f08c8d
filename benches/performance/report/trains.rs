//! Pre-run, keeping and post-run: times, ratios, memory and processor time.

use super::table::{figure, number, ratios, table};
use crate::{
    modes::{FLOOR, MODES, TRAIN_LIB, ours},
    options::Part,
    record::{Case, Cost, Record},
    statistics::median,
    steps::{CARRIED, COMMITTED, POST, PRE, WHOLE},
};

/// Rows of the tables: a name, and the steps it is the sum of.
const ROWS: [(&str, &[&str]); 6] = [
    ("pre-run", &[PRE]),
    ("keep, carry", &[CARRIED]),
    ("keep, commit", &[COMMITTED]),
    ("post-run", &[POST]),
    ("all, with carry", &[PRE, CARRIED, POST]),
    ("all, with commit", &[PRE, COMMITTED, POST]),
];

/// Times of all sizes, then what they cost otherwise.
pub fn tables(record: &Record) -> String {
    let cases = &record.cases[&Part::Trains];
    let mut text: String = cases.iter().map(times).collect();
    text += "\n### Memory and processor\n\nMemory: the maximum of train_lib's process; for stationmaster, the service's maximum above its idle level.\nProcessor seconds: of train_lib's process, or of stationmaster's service and client; separately those of the engine's daemon.\n\n";
    text += &table(
        &["results", "step", "who", "memory, MiB", "processor, s", "engine's, s"],
        &cases.iter().flat_map(costs).collect::<Vec<_>>(),
    );
    text
}

fn times(case: &Case) -> String {
    let floor = case.walls(FLOOR, &[WHOLE]);
    let names: Vec<String> = MODES.iter().map(ours).collect();
    let mut head = vec!["seconds".to_owned(), TRAIN_LIB.to_owned()];
    for name in &names {
        head.extend([name.clone(), "times as fast".into(), "of the floor".into()]);
    }
    let rows: Vec<Vec<String>> = ROWS
        .iter()
        .map(|(name, steps)| {
            let theirs = case.walls(TRAIN_LIB, steps);
            let mut row = vec![(*name).to_owned(), figure(&theirs)];
            for who in &names {
                let own = case.walls(who, steps);
                let is_step = matches!(*steps, [PRE] | [POST]);
                row.extend([
                    figure(&own),
                    if steps.len() > 1 || is_step { figure(&ratios(&theirs, &own)) } else { String::new() },
                    if is_step { figure(&ratios(&own, &floor)) } else { String::new() },
                ]);
            }
            row
        })
        .collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    format!("\n### Results of {}\n\nRounds: {}. Floor: {} s.\n\n{}", case.name, floor.len(), figure(&floor), table(&head, &rows))
}

fn costs(case: &Case) -> Vec<Vec<String>> {
    let whos: Vec<String> = std::iter::once(TRAIN_LIB.to_owned()).chain(MODES.iter().map(ours)).collect();
    let mut rows = Vec::new();
    for step in [PRE, POST] {
        for who in &whos {
            let costs = case.costs(who, step);
            let of = |value: &dyn Fn(&Cost) -> Option<f64>| costs.iter().filter_map(value).collect::<Vec<f64>>();
            rows.push(vec![
                case.name.clone(),
                step.to_owned(),
                who.clone(),
                figure(&of(&|cost| cost.peak_mib)),
                number(median(&of(&|cost| Some(cost.user + cost.system + cost.client)))),
                number(median(&of(&|cost| cost.engine))),
            ]);
        }
    }
    rows
}
