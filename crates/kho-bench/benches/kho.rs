//! Every workload of kho-bench that is timed inside one process.
//!
//! `KHO_BENCH_QUICK=1` takes fewer samples; `KHO_BENCH_SEED`, `KHO_BENCH_PERCENT` and `KHO_BENCH_ORDER`
//! choose other data.
#![allow(missing_docs, clippy::expect_used)]

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use kho_bench::{Data, Work, Workload, all};

fn measure(criterion: &mut Criterion, workload: Workload, quick: bool) {
    let Workload {
        name,
        by,
        work,
        short,
        mut run,
    } = workload;
    let mut group = criterion.benchmark_group(name);
    let throughput = match work {
        Work::Keys(keys) => Some(Throughput::Elements(keys)),
        Work::Entries(elements, bytes) => Some(Throughput::ElementsAndBytes { elements, bytes }),
        Work::Bytes(bytes) => Some(Throughput::Bytes(bytes)),
        Work::One => None,
    };
    if let Some(throughput) = throughput {
        group.throughput(throughput);
    }
    // A run of its own per sample, so that the least of them is the best run; but for what a clock
    // can not tell apart.
    let shortest = Duration::from_millis(1);
    group.warm_up_time(shortest).measurement_time(shortest);
    group.sampling_mode(SamplingMode::Flat);
    group.sample_size(10);
    if short {
        let time = Duration::from_millis(if quick { 200 } else { 1000 });
        group.warm_up_time(time / 4).measurement_time(time);
        group.sampling_mode(SamplingMode::Auto);
    }
    group.bench_function(by, |bencher| {
        bencher.iter_custom(|times| run(times).expect(name));
    });
    group.finish();
}

fn benches(criterion: &mut Criterion) {
    let quick = std::env::var_os("KHO_BENCH_QUICK").is_some();
    for workload in all(Data::from_env()) {
        measure(criterion, workload, quick);
    }
}

criterion_group!(all_of_them, benches);
criterion_main!(all_of_them);
