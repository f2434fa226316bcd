# A board's run, its serial line and the plugin's counts, to one row: instructions a token by region.
#
# In: what the board said, then counts.txt; -v name=BOARD. A token is a position that was computed,
# those of prompts included. Regions: 1 to 6 are the kernel's stages in order, 14 the card driver.
{ gsub(/\r/, "") }
FNR == NR && /^prompt / { split($2, part, "/"); done = part[1] }
FNR == NR && /^end / {
    line = $0; gsub(/,/, "", line)
    match(line, /[0-9]+ tokens/); n = substr(line, RSTART) + 0
    match(line, /[0-9]+ reads/); reads += substr(line, RSTART)
    match(line, /[0-9]+ bytes/); bytes += substr(line, RSTART)
    tokens += done + n - 1; generated += n - 1
}
$1 == "region" { count[$2] = $6; }
function cell(region) { return tokens ? sprintf(" %.1f |", count[region] / tokens / 1000) : " |" }
END {
    if (!tokens) exit 1
    printf "| %s |", name
    print cell(4) cell(5) cell(3) cell(6) cell(14) cell(2) \
        sprintf(" %.1f | %.1f |", generated ? reads / generated : 0, generated ? bytes / generated / 1024 : 0)
}
