#include "textflag.h"

// The child returns first and uses the stack; the return address stays in the link register.

// func vfork(flags uintptr) (pid, errno uintptr)
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-24
	MOVD	flags+0(FP), R0
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$220, R8 // clone
	SVC
	CMN	$4095, R0
	BCS	failed
	MOVD	R0, pid+8(FP)
	MOVD	ZR, errno+16(FP)
	RET
failed:
	NEG	R0, R0
	MOVD	ZR, pid+8(FP)
	MOVD	R0, errno+16(FP)
	RET

// func fork(flags uintptr, stack unsafe.Pointer, s *shimState) (pid, errno uintptr)
TEXT ·fork(SB),NOSPLIT|NOFRAME,$0-40
	MOVD	flags+0(FP), R0
	ORR	$0x100, R0 // CLONE_VM
	MOVD	stack+8(FP), R1
	AND	$~15, R1
	MOVD	s+16(FP), R19
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$220, R8 // clone
	SVC
	CBZ	R0, child
	CMN	$4095, R0
	BCS	failed
	MOVD	R0, pid+24(FP)
	MOVD	ZR, errno+32(FP)
	RET
failed:
	NEG	R0, R0
	MOVD	ZR, pid+24(FP)
	MOVD	R0, errno+32(FP)
	RET
child:
	SUB	$32, RSP
	MOVD	R19, 8(RSP)
	BL	·shim(SB) // does not return
	BRK
	RET
