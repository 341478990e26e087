//! Reserved memory.

use kho_testkit::{Builder, Memory, prop};

fn built(damage: impl Fn(&mut Memory, u64)) -> Memory {
    let mut b = Builder::new();
    b.metadata(1, "7.3.4", 1);
    b.memblock("memblock-v1", &[("log", 0x4000), ("state", 0x8000)]);
    let built = b.finish();
    let mut mem = built.mem;
    let fdt = mem.u64(prop(&mem, built.fdt, "memblock", "preserved-data"));
    damage(&mut mem, fdt);
    mem
}
built! {
    memblock_magic: ["memblock", "wrong magic"], || built(|m, fdt| m.write(fdt, &[0]));
    memblock_totalsize:
        ["memblock", "totalsize"], || built(|m, fdt| m.write(fdt + 4, &0xfff0u32.to_be_bytes()));
    memblock_compatible_unterminated:
        ["memblock", "not terminated"], || built(|m, fdt| m.write(prop(m, fdt, "", "compatible") + 11, b"1"));
}
fn region(property: &str, value: u64) -> impl Fn() -> Memory {
    move || built(|m, fdt| m.set_u64(prop(m, fdt, "state", property), value))
}

built! {
    region_size_0: ["region `state`", "size"], region("size", 0);
    region_too_large: ["region `state`"], region("size", 1 << 30);
    region_wrapping: ["region `state`", "wraps"], region("size", u64::MAX);
    region_null: ["region `state`", "null"], region("start", 0);
    region_outside: ["region `state`", "not preserved"], region("start", 0x7_0000_0000);
    region_cuts_a_range: ["region `state`", "cut by"], region("size", 0x4000);
    // Unaligned as such is what a kernel writes; its pages are preserved all the same.
    region_unaligned_and_outside: ["region `state`", "not preserved"], region("start", 0x7_0000_0008);
    region_shared: ["region `state`", "is shared"], || {
        built(|m, fdt| {
            let log = m.u64(prop(m, fdt, "log", "start"));
            m.set_u64(prop(m, fdt, "state", "start"), log);
            m.set_u64(prop(m, fdt, "state", "size"), 0x4000);
        })
    };
    region_without_start: ["`start`", "missing"], || {
        built(|m, fdt| {
            let at = prop(m, fdt, "state", "start");
            let name = m.read(prop(m, fdt, "state", "compatible") - 4, 4);
            let size = prop(m, fdt, "state", "size");
            let size_name = m.read(size - 4, 4);
            // `start` is called `size`, and `size` something else.
            m.write(at - 4, &size_name);
            let other = u32::from_be_bytes(name.try_into().unwrap()) + 3;
            m.write(size - 4, &other.to_be_bytes());
        })
    };
}
