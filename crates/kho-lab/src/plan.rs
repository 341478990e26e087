//! The shortest chain of updates that a policy allows.

use petgraph::algo::astar;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Bfs, Reversed};
use serde::Serialize;

use crate::run::{Kind, Matrix};
use crate::why::Why;

/// A step of a chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    /// The release that hands over.
    pub from: String,
    /// The release that takes over.
    pub to: String,
    /// Accepted, or degraded.
    pub kind: Kind,
    /// What is lost.
    pub why: Vec<Why>,
}

/// A chain of direct updates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Plan {
    /// The steps, at least one unless both releases are one.
    pub steps: Vec<Step>,
}

/// Why there is no chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NoPlan {
    /// Releases that can be reached, the first one included.
    pub reached: Vec<String>,
    /// Releases from which the target can be reached, the target included.
    pub reaching: Vec<String>,
    /// For each pair of those two that does not connect: what happens, and why.
    pub gaps: Vec<Step>,
}

/// The shortest chain from release `from` to release `to` (places in `releases`) of updates that are
/// accepted and right in `matrix`; of those the one with the fewest degraded steps. What a policy would
/// accept and get wrong is not taken.
///
/// # Errors
///
/// There is none.
pub fn plan(releases: &[String], matrix: &Matrix, from: usize, to: usize) -> Result<Plan, NoPlan> {
    let mut graph = DiGraph::<usize, u64>::new();
    let nodes = (0..releases.len()).map(|index| graph.add_node(index));
    let nodes: Vec<_> = nodes.collect();
    for (one, row) in nodes.iter().zip(&matrix.cells) {
        for (other, cell) in nodes.iter().zip(row) {
            // A hop outweighs any number of losses.
            let cost = match cell.kind {
                Kind::Accepted => 1 << 16,
                Kind::Degraded => (1 << 16) + 1,
                _ => continue,
            };
            if one != other {
                graph.add_edge(*one, *other, cost);
            }
        }
    }
    let name = |index: usize| releases.get(index).cloned().unwrap_or_default();
    let step = |from: usize, to: usize| {
        let cell = matrix.cell(from, to)?;
        Some(Step {
            from: name(from),
            to: name(to),
            kind: cell.kind,
            why: cell.why.clone(),
        })
    };
    let (start, end) = (NodeIndex::new(from), NodeIndex::new(to));
    if from >= nodes.len() || to >= nodes.len() {
        return Err(NoPlan {
            reached: Vec::new(),
            reaching: Vec::new(),
            gaps: Vec::new(),
        });
    }
    let found = astar(
        &graph,
        start,
        |node| node == end,
        |edge| *edge.weight(),
        |_| 0,
    );
    if let Some((_, path)) = found {
        let pairs = path.iter().zip(path.iter().skip(1));
        let steps = pairs.filter_map(|(one, other)| step(one.index(), other.index()));
        return Ok(Plan {
            steps: steps.collect(),
        });
    }
    let mut reached = Vec::new();
    let mut walk = Bfs::new(&graph, start);
    while let Some(node) = walk.next(&graph) {
        reached.push(node.index());
    }
    let mut reaching = Vec::new();
    let mut walk = Bfs::new(Reversed(&graph), end);
    while let Some(node) = walk.next(Reversed(&graph)) {
        reaching.push(node.index());
    }
    reached.sort_unstable();
    reaching.sort_unstable();
    let from_one = |from: &usize| reaching.iter().filter_map(|to| step(*from, *to)).collect();
    let gaps = reached
        .iter()
        .map(from_one)
        .collect::<Vec<Vec<_>>>()
        .concat();
    let names = |all: &[usize]| all.iter().map(|index| name(*index)).collect();
    Err(NoPlan {
        gaps,
        reached: names(&reached),
        reaching: names(&reaching),
    })
}
