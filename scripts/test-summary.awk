# Reads what scripts/test wrote and prints the number of tests of each kind; the last line is the
# sum. A kind follows from the name of the test's file: see `kind_of`.

BEGIN {
    kinds = "unit and table,property,loom,golden,model,simulation,end-to-end,crash,disk,foreign clients,real lnd,tidy,doc"
    count_of_kinds = split(kinds, kind_at, ",")
}

# Runs and sections.
/^fulgurite: (tests|loom)$/ { close_section(); loom = ($2 == "loom"); next }
/^ +Running / { open_section($2 == "unittests" ? $3 : $2, $NF); next }
/^ +Doc-tests / { open_section("doc", $2); next }

# One test. Those of a section that are not property tests are what is left of its result.
/^test .* \.\.\. / {
    if (/ \.\.\. ignored/) ignored[++count_of_ignored] = section ": " $2
    if (/ \.\.\. FAILED/) broken[++count_of_broken] = section ": " $2
    if ($2 ~ /property/ && / \.\.\. ok/ && kind == "unit and table") property++
    next
}

/^test result: / {
    match($0, /[0-9]+ passed/); passed = substr($0, RSTART) + 0
    match($0, /[0-9]+ failed/); failed += substr($0, RSTART) + 0
    match($0, /[0-9]+ ignored/); sum_ignored += substr($0, RSTART) + 0
    tests["property"] += property
    tests[kind] += passed - property
    sum += passed
    property = 0
    finished = 1
}

function open_section(file, binary) {
    close_section()
    kind = kind_of(file)
    section = kind == "doc" ? binary : binary_name(binary)
    finished = 0
    property = 0
}

function close_section() {
    if (section != "" && !finished) {
        broken[++count_of_broken] = section ": ended without a result"
        failed++
    }
    section = ""
}

# "(/target/release/deps/e2e_restart-0123456789abcdef)" is e2e_restart.
function binary_name(path) {
    sub(/.*\//, "", path)
    sub(/-[0-9a-f]+\)$/, "", path)
    return path
}

function kind_of(file) {
    if (loom) return "loom"
    if (file == "doc") return "doc"
    sub(/^.*tests\//, "", file)
    if (file ~ /^golden/) return "golden"
    if (file ~ /^crash/) return "crash"
    if (file ~ /^disk/) return "disk"
    if (file ~ /^model/) return "model"
    if (file ~ /^simulation/) return "simulation"
    if (file ~ /^e2e/) return "end-to-end"
    if (file ~ /^clients/) return "foreign clients"
    if (file ~ /^lnd/) return "real lnd"
    if (file ~ /^tidy/) return "tidy"
    if (file ~ /property/) return "property"
    return "unit and table"
}

END {
    close_section()
    print ""
    for (i = 1; i <= count_of_kinds; i++) printf "%-15s %5d passed\n", kind_at[i], tests[kind_at[i]]
    for (i = 1; i <= count_of_ignored; i++) print "ignored: " ignored[i]
    for (i = 1; i <= count_of_broken; i++) print "failed: " broken[i]
    # What should have run and did not is a failure too, by its name.
    for (i = 1; i <= count_of_kinds; i++) {
        if (!tests[kind_at[i]]) { print "failed: not one test of the kind " kind_at[i]; failed++ }
    }
    if (failed_runs != "" && !failed) { print "failed: cargo, in " failed_runs; failed++ }
    print ""
    printf "%d passed, %d failed\n", sum, failed
    exit failed > 0 || failed_runs != ""
}
