# Counts by region, one file a core and run (`M4.isa`), to one table and a verdict on the limits.
# Which region is what is in src/measure.rs.

BEGIN {
    split("64 192 256 1024", width); split("256 768 1024 1024", rows)
    # Most instructions a multiply-accumulate of the dot product, from 192 numbers on.
    limit["M3"] = 2.5; limit["M4"] = 1.3; limit["M55"] = 0.20
}
FNR == 1 { n = split(FILENAME, part, /[\/.]/); core = part[n - 1]; run = part[n] }
$1 == "region" { count[core, run, $2] = $6 }

function cost(core, run, region, i, times) { return count[core, run, region + i] / (times * width[i]) }
function line(core, name, run, version, region, times,    i, t) {
    printf "| %s | %s | %s", core, name, version
    for (i = 1; i <= 4; i++) {
        t = times ? times : rows[i]
        printf " | %.3f", cost(core, run, region, i, t)
    }
    print " |"
}
function over(core, what, i, found, most) {
    if (found <= most) return
    if (i == 1) {
        printf "%s: %s of 64 numbers is over the limit, where it does not apply: %.3f, limit %.3f\n", core, what, found, most
        return
    }
    printf "%s: %s of %d numbers is over its limit: %.3f, limit %.3f\n", core, what, width[i], found, most
    failed = 1
}

END {
    print "Guest instructions per multiply-accumulate (emulated, QEMU; instructions are not cycles)."
    print ""
    print "| core | loop | version | 64 | 192 | 256 | 1024 |"
    print "|---|---|---|---|---|---|---|"
    for (c = 1; c <= split("M3 M4 M55", cores); c++) {
        core = cores[c]
        line(core, "dot, matrix of 256, 768, 1024, 1024 rows", "isa", "this core's", 0, 0)
        line(core, "dot, matrix of 256, 768, 1024, 1024 rows", "q4", "this core's, 4 bits", 0, 0)
        line(core, "dot, matrix of 256, 768, 1024, 1024 rows", "portable", "portable", 0, 0)
        line(core, "dot, one row", "isa", "this core's", 8, 1)
        line(core, "dot, one row", "portable", "portable", 8, 1)
        line(core, "axpy, 16 rows", "isa", "this core's", 4, 16)
        line(core, "axpy, 16 rows", "q4", "this core's, 4 bits", 4, 16)
        line(core, "axpy, 16 rows", "portable", "portable", 4, 16)
        line(core, "packing an input, a number", "check", "this core's", 1, 1)
    }
    print ""
    for (c = 1; c <= 3; c++) {
        core = cores[c]
        for (i = 1; i <= 4; i++) {
            over(core, "dot, matrix", i, cost(core, "isa", 0, i, rows[i]), limit[core])
            over(core, "dot, one row", i, cost(core, "isa", 8, i, 1), limit[core])
            if (core == "M4") {
                over(core, "axpy", i, cost(core, "isa", 4, i, 16), cost(core, "portable", 4, i, 16) / 2)
            }
        }
    }
    exit failed
}
