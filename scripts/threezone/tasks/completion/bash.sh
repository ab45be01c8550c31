# Completion of << program >> for << dialect >>: source <(<< program >> --print-completion-script << dialect >>)
#% if dialect == "zsh" %#
autoload -Uz bashcompinit && bashcompinit
#% endif %#

_threezone_values() {
  case $1 in
#% for kind, command in values.items() %#
    << kind >>) << command >> ;;
#% endfor %#
  esac 2>/dev/null
}

# The options of a task.
_threezone_options() {
  case $1 in
#% for name, (_, options) in tasks.items() %#
    << name >>) echo '#%- for each in options if each.flag %# --<< each.flag >>#%- endfor %#' ;;
#% endfor %#
  esac
}

# The kind of the values of a task's option; of its argument for an empty option; "any" for other values.
_threezone_kind() {
  case "$1 $2" in
#% for name, (_, options) in tasks.items() %#
#% for each in options if each.takes_value %#
    '<< name >> #%- if each.flag %# --<< each.flag >>#% else %# #% endif %#') echo << each.values or "any" >> ;;
#% endfor %#
#% endfor %#
  esac
}

_threezone_complete() {
  local tasks='<< tasks | join(" ") >>'
  local line=${COMP_LINE:0:$COMP_POINT} word task='' previous='' kind='' words
  word=${line##*[[:space:]]}
  for words in ${line%"$word"}; do
    case " $tasks " in *" $words "*) task=$words previous='' ;; *) previous=$words ;; esac
  done
  case $word in --*=*) previous=${word%%=*} word=${word#*=} ;; esac
  [ -n "$task" ] && kind=$(_threezone_kind "$task" "$previous")
  if [ -n "$kind" ] && [ "${word#-}" = "$word" ]; then
    words=$(_threezone_values "$kind")
  elif [ -n "$task" ]; then
    words="$(_threezone_options "$task") --help $tasks"
  else
    words="$tasks --help --list --version"
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  # The shell has broken the word at colons, and puts the reply behind the last one.
  case $word in *:*) COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*:}"}"}") ;; esac
}

complete -o default -F _threezone_complete << program >>
