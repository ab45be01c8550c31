# Completion of << program >> for fish: << program >> --print-completion-script fish | source

function _threezone_values
    switch $argv[1]
#% for kind, command in values.items() %#
        case << kind >>
            sh -c << command | fish >> 2>/dev/null | string split ' '
#% endfor %#
    end
end

# The last task on the line, or nothing.
function _threezone_task
    for word in (commandline -opc)[-1..2]
        if contains -- $word << tasks | join(" ") >>
            echo $word
            return
        end
    end
end

function _threezone_is
    set --local task (_threezone_task)
    test "$task" = "$argv[1]"
end

complete --command << program >> --no-files
#% for name, (summary, options) in tasks.items() %#
complete --command << program >> --arguments << name >> --description << summary | fish >>
#% for each in options if each.flag or each.values %#
complete --command << program >> --condition '_threezone_is << name >>'
#%- if each.flag %# --long-option << each.flag >>#% endif %#
#%- if each.takes_value and each.flag %# --exclusive#% endif %#
#%- if each.values %# --arguments '(_threezone_values << each.values >>)'#% endif %# --description << each.help | fish >>
#% endfor %#
#% endfor %#
