//! Two that are measured in turns: bare, and layered.

use super::Outcome;

/// What one load has shown of one of the two.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) per_second_of_cpu: f64,
}

/// Measures both in each round, in changing order, so that noise hits both. Gives back a row: the
/// medians of both, of their ratio, and of their ratio per CPU time.
pub(crate) fn compare(
    what: &str,
    rounds: usize,
    mut measure: impl FnMut(usize) -> Outcome<Rate>,
) -> Outcome<Vec<String>> {
    let mut all = Vec::new();
    for round in 0..rounds {
        let mut pair = [Rate::default(); 2];
        for turn in [round, round + 1].map(|it| it % 2) {
            pair[turn] = measure(turn)?;
        }
        all.push(pair);
    }
    let median = |of: fn(&[Rate; 2]) -> f64| median(all.iter().map(of).collect());
    Ok(vec![
        what.to_owned(),
        format!("{:.0}", median(|[bare, _]| bare.per_second)),
        format!("{:.0}", median(|[_, layered]| layered.per_second)),
        format!(
            "{:.3}",
            median(|[bare, layered]| layered.per_second / bare.per_second)
        ),
        format!(
            "{:.3}",
            median(|[bare, layered]| layered.per_second_of_cpu / bare.per_second_of_cpu)
        ),
    ])
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
