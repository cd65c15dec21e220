package valkeysim

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// scripts are the scripts that the server knows, by their SHA-1, and the state that runs them. The
// zero value knows none.
type scripts struct {
	state *lua.LState
	known map[string]*lua.LFunction
	run   *Server // whose commands the script runs
}

// flush forgets all scripts.
func (s *scripts) flush() { s.known = nil }

// open makes the state with the libraries that scripts use.
func (s *scripts) open() {
	s.state = lua.NewState(lua.Options{SkipOpenLibs: true})
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString, lua.MathLibName: lua.OpenMath,
	} {
		s.state.Push(s.state.NewFunction(open))
		s.state.Push(lua.LString(name))
		s.state.Call(1, 0)
	}
	s.state.SetGlobal("redis", s.state.SetFuncs(s.state.NewTable(), map[string]lua.LGFunction{
		"call": s.call, "error_reply": errorReply, "acl_check_cmd": s.mayRun,
	}))
}

// eval runs EVAL or EVALSHA. The caller holds s.mu.
func (s *Server) eval(args []string) any {
	if refused := s.refuses(args, false, false); refused != "" {
		return refused
	}
	if len(args) < 3 {
		return failure("ERR wrong number of arguments for 'eval' command")
	}
	keys, err := strconv.Atoi(args[2])
	if err != nil || keys < 0 || keys > len(args)-3 {
		return failure("ERR Number of keys can't be greater than number of args")
	}
	if s.scripts.state == nil {
		s.scripts.open()
		s.scripts.run = s
	}
	l := s.scripts.state
	sha := args[1]
	if args[0] == "EVAL" {
		sum := sha1.Sum([]byte(args[1]))
		sha = hex.EncodeToString(sum[:])
	}
	script := s.scripts.known[sha]
	if script == nil {
		if args[0] == "EVALSHA" {
			return failure("NOSCRIPT No matching script. Please use EVAL.")
		}
		if script, err = l.LoadString(args[1]); err != nil {
			return failure("ERR Error compiling script: " + line(err.Error()))
		}
		if s.scripts.known == nil {
			s.scripts.known = map[string]*lua.LFunction{}
		}
		s.scripts.known[sha] = script
	}
	l.SetGlobal("KEYS", list(l, args[3:3+keys]))
	l.SetGlobal("ARGV", list(l, args[3+keys:]))
	top := l.GetTop()
	defer l.SetTop(top)
	if err := l.CallByParam(lua.P{Fn: script, NRet: 1, Protect: true}); err != nil {
		if raised, ok := err.(*lua.ApiError); ok {
			if t, ok := raised.Object.(*lua.LTable); ok {
				if text, ok := t.RawGetString("err").(lua.LString); ok {
					return failure(fmt.Sprintf("%s script: %s, on @user_script:1.", text, sha))
				}
			}
		}
		return failure("ERR " + line(err.Error()) + " script: " + sha)
	}
	return fromLua(l.Get(-1))
}

func line(s string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(s) }

func list(l *lua.LState, all []string) *lua.LTable {
	t := l.CreateTable(len(all), 0)
	for i, one := range all {
		t.RawSetInt(i+1, lua.LString(one))
	}
	return t
}

// arguments are the arguments of a function of the redis module.
func arguments(l *lua.LState) []string {
	args := make([]string, l.GetTop())
	for i := range args {
		switch v := l.Get(i + 1).(type) {
		case lua.LString:
			args[i] = string(v)
		case lua.LNumber:
			args[i] = numberText(float64(v))
		default:
			l.RaiseError("Lua redis lib command arguments must be strings or integers")
		}
	}
	if len(args) == 0 {
		l.RaiseError("Please specify at least one argument for this redis lib call")
	}
	args[0] = strings.ToUpper(args[0])
	return args
}

func numberText(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}

// call is redis.call.
func (s *scripts) call(l *lua.LState) int {
	reply := s.run.do(arguments(l))
	if err, ok := reply.(failure); ok {
		l.Error(failed(l, string(err)), 0)
	}
	l.Push(toLua(l, reply))
	return 1
}

func failed(l *lua.LState, text string) *lua.LTable {
	t := l.NewTable()
	t.RawSetString("err", lua.LString(text))
	return t
}

// errorReply is redis.error_reply.
func errorReply(l *lua.LState) int {
	l.Push(failed(l, l.CheckString(1)))
	return 1
}

// mayRun is redis.acl_check_cmd.
func (s *scripts) mayRun(l *lua.LState) int {
	args := arguments(l)
	for _, denied := range s.run.faults.Denied {
		if denied == args[0] {
			l.Push(lua.LFalse)
			return 1
		}
	}
	l.Push(lua.LTrue)
	return 1
}

// toLua converts a reply to a value of a script, as RESP2.
func toLua(l *lua.LState, reply any) lua.LValue {
	array := func(all []any) lua.LValue {
		t := l.CreateTable(len(all), 0)
		for i, one := range all {
			t.RawSetInt(i+1, toLua(l, one))
		}
		return t
	}
	switch reply := reply.(type) {
	case nil:
		return lua.LFalse
	case int64:
		return lua.LNumber(reply)
	case string:
		return lua.LString(reply)
	case status:
		t := l.NewTable()
		t.RawSetString("ok", lua.LString(reply))
		return t
	case []any:
		return array(reply)
	case set:
		return array(reply)
	case pairs:
		return array(reply)
	}
	panic(fmt.Sprintf("valkeysim: a reply is a %T", reply))
}

// fromLua converts the result of a script to a reply.
func fromLua(v lua.LValue) any {
	switch v := v.(type) {
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return int64(v)
	case lua.LBool:
		if v {
			return int64(1)
		}
		return nil
	case *lua.LTable:
		if err, ok := v.RawGetString("err").(lua.LString); ok {
			return failure(line(string(err)))
		}
		if ok, is := v.RawGetString("ok").(lua.LString); is {
			return status(ok)
		}
		all := []any{}
		for i := 1; ; i++ {
			one := v.RawGetInt(i)
			if one == lua.LNil {
				return all
			}
			all = append(all, fromLua(one))
		}
	}
	return nil
}
